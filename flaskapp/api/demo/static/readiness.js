/** Waits for the model of a server that loads it with the first request, as `flask run` does. */

import { sleep } from "./queue.js";

const PAUSE = 2000; // milliseconds between requests
const ATTEMPTS = 150; // after these the page goes on without the defaults

/**
 * @param {string} url of the readiness probe, which makes such a server load its model
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

/** The answer has the member `model` whether it is 200 or 503. */
async function ask(url) {
  try {
    return (await (await fetch(url)).json()).model;
  } catch {
    return null; // no answer, or one of a proxy
  }
}
