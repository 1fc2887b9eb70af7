/** A caption job of the server: many images in one request, captioned in the background. */

import { megabytes } from "./api.js";
import { Problem } from "./problem.js";

const PAGE_SIZE = 100; // results on a page
const ENVELOPE = 512; // most bytes that a form adds to a file, besides its name

/** @typedef {{state: string, total: number, done: number, failed: number, seconds_remaining: number | null}} Status */
/** @typedef {{index: number, captions?: string[], error?: string}} Result has neither if the job ended before the image */

export class Job {
  #config = null;
  #key = "";
  #address = null;

  /**
   * @param {import("./api.js").Api} api
   * @param {{jobsUrl: string, maxJobMb: string, maxJobImages: string}} page the data attributes of the page
   * @param {File[]} files
   */
  constructor(api, page, files) {
    this.api = api;
    this.page = page;
    this.files = files;
  }

  /** Whether the server has accepted the job, which then continues without this page. */
  get isTaken() {
    return this.#address !== null;
  }

  /** @param {object} config generation settings that differ from the defaults; other settings make another job */
  configure(config) {
    const text = JSON.stringify(config);
    if (this.isTaken || text === this.#config) return;
    this.#config = text;
    this.#key = randomKey();
  }

  /** Send the images. A retry after a lost answer finds the same job. @param {AbortSignal} signal */
  async submit(signal) {
    this.#check();
    const body = new FormData();
    for (const file of this.files) body.append("data", file, file.name);
    body.append("config", this.#config);
    const request = { method: "POST", body, signal, headers: { "Idempotency-Key": this.#key } };
    try {
      this.#address = this.page.jobsUrl + (await this.api.send(this.page.jobsUrl, request, readId));
    } catch (problem) {
      if (problem.status === 409) this.#key = randomKey(); // a file has changed since the first try
      throw problem;
    }
  }

  /** @param {AbortSignal} signal @returns {Promise<Status>} */
  status(signal) {
    return this.api.send(this.#address, { signal }, readStatus);
  }

  cancel() {
    return this.api.send(`${this.#address}?keep_results=true`, { method: "DELETE", keepalive: true }, () => {});
  }

  /** @param {number} page from 1 @param {AbortSignal} signal @returns {Promise<Result[]>} */
  results(page, signal) {
    const query = new URLSearchParams({ page, page_size: PAGE_SIZE });
    return this.api.send(`${this.#address}/results?${query}`, { signal }, readResults);
  }

  pages(total) {
    return Math.ceil(total / PAGE_SIZE);
  }

  /** @param {"csv" | "jsonl"} format */
  downloadAddress(format) {
    return `${this.#address}/results?${new URLSearchParams({ format })}`;
  }

  /** @param {"csv" | "jsonl"} format @param {AbortSignal} signal @returns {Promise<Blob>} */
  download(format, signal) {
    return this.api.send(this.downloadAddress(format), { signal }, (answer) => answer.blob());
  }

  /** Reject files that the server would reject after the upload. */
  #check() {
    const most = Number(this.page.maxJobImages);
    const advice = "Choose fewer, or caption them one by one.";
    const refusal = { status: 413 };
    if (this.files.length > most) {
      throw new Problem(`These are ${this.files.length} images; a job has ${most} at most. ${advice}`, refusal);
    }
    const room = Math.min(this.api.maxUpload, Number(this.page.maxJobMb) * 2 ** 20);
    const size = this.files.reduce((sum, { size, name }) => sum + size + 3 * name.length + ENVELOPE, 0);
    if (size > room) {
      const words = `These images have ${megabytes(size)} MB together; a job has ${room / 2 ** 20} MB at most.`;
      throw new Problem(`${words} ${advice}`, refusal);
    }
  }
}

/** Return a random key. Browsers offer randomUUID over https and on localhost only. */
function randomKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return the job's id, to make its URL. `Location` would lack a prefix that a proxy strips. */
async function readId(answer) {
  const job = await readJson(answer);
  if (answer.status !== 202 || typeof job?.id !== "string") throw Problem.unexpected();
  return job.id;
}

async function readStatus(answer) {
  const status = await readJson(answer);
  if (!["total", "done", "failed"].every((name) => Number.isInteger(status?.[name]))) throw Problem.unexpected();
  return status;
}

async function readResults(answer) {
  const results = await readJson(answer);
  if (!Array.isArray(results) || results.length === 0) throw Problem.unexpected();
  return results;
}

async function readJson(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text);
  } catch {
    throw Problem.unexpected();
  }
}
