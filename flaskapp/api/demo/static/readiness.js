/** Wait for the model of a server that loads it at the first request, such as `flask run`. */

import { sleep } from "./queue.js";

const PAUSE = 2000; // milliseconds between requests
const ATTEMPTS = 150; // then the page continues without the defaults

/**
 * @param {string} url of the readiness probe, which starts the loading
 * @param {(model: {name: string, message: string, defaults: object, takes_prompt: boolean}) => void} onLoad
 */
export async function whenLoaded(url, onLoad) {
  const { signal } = new AbortController();
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const model = await ask(url);
    if (model?.ready) return onLoad(model);
    await sleep(PAUSE, signal);
  }
}

/** Return the member `model` of the probe, which both 200 and 503 have. */
async function ask(url) {
  try {
    return (await (await fetch(url)).json()).model;
  } catch {
    return null; // no answer, or a proxy's
  }
}
