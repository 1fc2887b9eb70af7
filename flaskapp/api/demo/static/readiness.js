/** The model, of a server that loads it with the first request, as `flask run` does. */

import { sleep } from "./queue.js";

const PAUSE = 2000; // milliseconds between two questions
const QUESTIONS = 150; // then it is given up: the page works without

/**
 * @param {string} url of the readiness probe, which makes such a server load its model
 * @param {(model: {name: string, message: string, defaults: object, takes_prompt: boolean}) => void} onLoad
 */
export async function whenLoaded(url, onLoad) {
  const { signal } = new AbortController();
  for (let left = QUESTIONS; left > 0; left -= 1) {
    const model = await ask(url);
    if (model?.defaults) return onLoad(model);
    await sleep(PAUSE, signal);
  }
}

/** The answer has the same member `model`, whether it is ready or not. */
async function ask(url) {
  try {
    return (await (await fetch(url)).json()).model;
  } catch {
    return null; // no answer, or a proxy's
  }
}
