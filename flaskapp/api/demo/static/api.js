/** Calls of the server's endpoints, with one image in each request. */

import { Problem } from "./problem.js";

export class Api {
  /**
   * @param {{captionUrl: string, resizeUrl: string, maxUploadMb: string}} page the data attributes of the page
   * @param {{headers: () => HeadersInit, credentials: RequestCredentials}} login
   */
  constructor(page, login) {
    this.captionUrl = page.captionUrl;
    this.resizeUrl = page.resizeUrl;
    this.maxUpload = Number(page.maxUploadMb) * 2 ** 20;
    this.login = login;
  }

  /**
   * @param {File} file
   * @param {object} config generation settings that differ from the defaults
   * @param {AbortSignal} signal
   * @returns {Promise<{model: string, captions: string[], scores?: object[], warning?: string, seconds: object}>} the best
   *   caption first; `seconds`: as in Card.showCaptions
   */
  async caption(file, config, signal) {
    const form = await this.#form(file);
    if (Object.keys(config).length > 0) form.append("config", JSON.stringify(config));
    const began = performance.now();
    const captioned = await this.send(this.captionUrl, { method: "POST", body: form, signal }, readCaptions);
    captioned.seconds.total = (performance.now() - began) / 1000;
    return captioned;
  }

  /**
   * @param {File} file
   * @param {{w: number, h: number}} size in pixels
   * @param {AbortSignal} signal
   * @returns {Promise<Blob>}
   */
  async resize(file, size, signal) {
    const body = await this.#form(file);
    return this.send(this.resizeAddress(size), { method: "POST", body, signal }, readPicture);
  }

  /**
   * Fetch the picture of a file that the browser cannot show, stretched to a square.
   *
   * @param {File} file
   * @param {number} side in pixels
   * @param {AbortSignal} signal
   * @returns {Promise<{picture: ImageBitmap, width: number, height: number}>} with the size of the image in the file
   */
  async preview(file, side, signal) {
    const body = await this.#form(file);
    const address = `${this.resizeAddress({ w: side, h: side })}&format=webp`;
    return this.send(address, { method: "POST", body, signal }, readPreview);
  }

  /** @param {{w: number, h: number}} size */
  resizeAddress(size) {
    return `${this.resizeUrl}?${new URLSearchParams(size)}`;
  }

  /** Reject files that cannot be read, and files that the server would reject after the upload. */
  async #form(file) {
    if (file.size > this.maxUpload - ENVELOPE) {
      const limit = this.maxUpload / 2 ** 20;
      throw new Problem(`The file has ${megabytes(file.size)} MB; the server takes ${limit} MB at most.`, { status: 413 });
    }
    await readStart(file, 1);
    const form = new FormData();
    form.append("data", file, file.name);
    return form;
  }

  /**
   * @template T
   * @param {string} address
   * @param {RequestInit} request
   * @param {(answer: Response) => T | Promise<T>} read
   * @returns {Promise<T>}
   */
  async send(address, request, read) {
    const { credentials } = this.login;
    const headers = { ...request.headers, ...this.login.headers() };
    try {
      const answer = await fetch(address, { ...request, credentials, headers });
      if (answer.status === 401) this.login.forget(headers.Authorization);
      if (!answer.ok) throw await Problem.of(answer);
      return await read(answer);
    } catch (error) {
      if (error instanceof Problem || error.name === "AbortError") throw error;
      throw Problem.unreachable(); // fetch raises TypeError for all failures
    }
  }
}

const ENVELOPE = 4096; // most bytes that a form adds to its file

async function readCaptions(answer) {
  const text = await answer.text();
  try {
    const { model, warning, results: [{ captions, scores }] } = JSON.parse(text);
    const areTexts = captions.every((caption) => typeof caption === "string") && captions.length > 0;
    if (areTexts) return { model, captions, scores, warning, seconds: { model: modelSeconds(answer) } };
  } catch {
    // no JSON, or JSON without captions
  }
  throw Problem.unexpected();
}

function modelSeconds(answer) {
  const found = /\bmodel;dur=([\d.]+)/.exec(answer.headers.get("Server-Timing"));
  return found && Number(found[1]) / 1000;
}

async function readPicture(answer) {
  const picture = await answer.blob();
  if (!picture.type.startsWith("image/")) throw Problem.unexpected();
  return picture;
}

async function readPreview(answer) {
  const [width, height] = ["Width", "Height"].map((side) => Number(answer.headers.get(`X-Upload-${side}`)));
  return { picture: await createImageBitmap(await readPicture(answer)), width, height };
}

/** @param {File} file @param {number} length in bytes @returns {Promise<string>} one character for each byte */
export async function readStart(file, length) {
  const start = await file.slice(0, length).arrayBuffer().catch(() => {
    throw new Problem("This cannot be read: it is a folder, or the file has changed or gone.", { status: 400 });
  });
  return String.fromCharCode(...new Uint8Array(start));
}

export function megabytes(bytes) {
  return (bytes / 2 ** 20).toFixed(1);
}
