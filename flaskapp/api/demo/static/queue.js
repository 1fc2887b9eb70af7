/**
 * A queue that runs a few jobs at a time. On a 503 all of them wait for its Retry-After, then retry.
 */

const BUSY = 503;

export class Queue {
  #waiting = [];
  #running = 0;
  #busyUntil = 0; // by Date.now, in milliseconds
  #controller = new AbortController();
  #options;

  /**
   * @param {object} [options]
   * @param {number} [options.atOnce] most concurrent jobs
   * @param {number} [options.attempts] most attempts of a request that gets 503
   * @param {number} [options.longestWait] seconds; a job with a longer Retry-After fails instead
   * @param {(seconds: number) => void} [options.onBusy] called when the queue starts to wait
   */
  constructor({ atOnce = 4, attempts = 8, longestWait = 30, onBusy = () => {} } = {}) {
    this.#options = { atOnce, attempts, longestWait, onBusy };
  }

  /**
   * @param {(send: <T>(request: (signal: AbortSignal) => Promise<T>) => Promise<T>) => Promise<void>} job makes its
   *   requests through `send`, which retries them
   * @returns {Promise<void>} when it is done; rejected with its error, or an AbortError when it was cancelled
   */
  add(job) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#startNext();
    });
  }

  /** Abort running jobs and drop waiting ones. Jobs that are added later run as usual. */
  cancel() {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.#busyUntil = 0;
    for (const { reject } of this.#waiting.splice(0)) reject(new DOMException("cancelled", "AbortError"));
  }

  #startNext() {
    while (this.#running < this.#options.atOnce && this.#waiting.length > 0) this.#run(this.#waiting.shift());
  }

  async #run({ job, resolve, reject }) {
    const { signal } = this.#controller;
    this.#running += 1;
    try {
      resolve(await job((request) => this.#send(request, signal)));
    } catch (error) {
      reject(error);
    } finally {
      this.#running -= 1;
      this.#startNext();
    }
  }

  async #send(request, signal) {
    for (let attempt = 1; ; attempt += 1) {
      await this.#whileBusy(signal);
      try {
        return await request(signal);
      } catch (error) {
        const wait = error.status === BUSY ? error.retryAfter : null;
        if (wait === null || wait > this.#options.longestWait || attempt === this.#options.attempts) throw error;
        if (!signal.aborted) this.#waitFor(wait);
      }
    }
  }

  #waitFor(seconds) {
    const until = Date.now() + seconds * 1000;
    if (until <= this.#busyUntil) return;
    if (this.#busyUntil <= Date.now()) this.#options.onBusy(seconds);
    this.#busyUntil = until;
  }

  async #whileBusy(signal) {
    signal.throwIfAborted();
    for (let left; (left = this.#busyUntil - Date.now()) > 0; ) await sleep(left, signal);
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal */
export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
