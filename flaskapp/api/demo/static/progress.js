/** The progress bar, and its texts for screen readers when a round starts, waits and ends. */

export class Progress {
  #total = 0;
  #done = 0;
  #failed = 0;
  #cancelled = 0;

  /** @param {HTMLProgressElement} bar @param {HTMLElement} status */
  constructor(bar, status) {
    this.bar = bar;
    this.status = status;
  }

  get isOver() {
    return this.#done === this.#total;
  }

  /** Add an image. A round starts with the first image, and ends when all added images are done. */
  begin() {
    if (this.isOver) this.#total = this.#done = this.#failed = this.#cancelled = 0;
    this.#total += 1;
    this.status.textContent = `Captioning ${images(this.#total)}…`;
    this.#show();
  }

  /** @param {"done" | "failed" | "cancelled"} outcome */
  end(outcome) {
    this.#done += 1;
    if (outcome === "failed") this.#failed += 1;
    if (outcome === "cancelled") this.#cancelled += 1;
    if (this.isOver) this.status.textContent = this.#summary();
    this.#show();
  }

  /** @param {string} text */
  say(text) {
    this.status.textContent = text;
  }

  #show() {
    this.bar.hidden = this.isOver;
    this.bar.max = this.#total;
    this.bar.value = this.#done;
    this.bar.textContent = `${this.#done} of ${this.#total}`;
  }

  #summary() {
    const parts = [`${images(this.#total - this.#failed - this.#cancelled)} captioned`];
    if (this.#failed) parts.push(`${this.#failed} failed`);
    if (this.#cancelled) parts.push(`${this.#cancelled} cancelled`);
    return `${parts.join(", ")}.`;
  }
}

export function images(count) {
  return count === 1 ? "1 image" : `${count} images`;
}
