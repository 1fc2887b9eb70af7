/** One image on the page: its pictures, its captions, what went wrong, and the curl lines that do the same. */

import { copyOnClick } from "./copy.js";
import { keepFocus } from "./focus.js";

const PIXELS_SHOWN = 160; // of the frame that the resized picture is shown in: smaller ones are shown pixel by pixel

export class Card {
  #removal = new AbortController();

  /**
   * @param {File} file
   * @param {object} options
   * @param {string} [options.source] the address of a sample
   * @param {boolean} options.isRead whether a screen reader is to read out the caption when it comes
   * @param {(card: Card) => void} options.onRetry
   * @param {(card: Card) => void} options.onRemove
   */
  constructor(file, { source, isRead, onRetry, onRemove }) {
    this.file = file;
    this.upload = { name: file.name, source };
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.problem = null;
    this.#part("name").textContent = file.name;
    if (isRead) this.#part("caption").setAttribute("aria-live", "polite");
    this.#part("remove").setAttribute("aria-label", `Remove ${file.name}`);
    this.#part("remove").addEventListener("click", () => onRemove(this));
    this.#part("problem").querySelector("button").addEventListener("click", () => onRetry(this));
    for (const line of this.element.querySelectorAll(".line")) {
      copyOnClick(line.querySelector("button"), line.querySelector("code"));
    }
    this.#showOriginal();
  }

  /** "waiting", "running", "done" or "failed" */
  get state() {
    return this.element.dataset.state;
  }

  /** Aborted when the card is removed. */
  get signal() {
    return this.#removal.signal;
  }

  wait() {
    this.#enter("waiting", "Waiting…");
    this.problem = null;
    for (const part of ["resize-problem", "alternatives", "score", "warning"]) this.#part(part).hidden = true;
    keepFocus(() => (this.#part("problem").hidden = true), this.#part("name"));
  }

  begin() {
    this.#enter("running", "Looking…");
  }

  /**
   * @param {object} answer
   * @param {string[]} answer.captions the best first
   * @param {{log_probability: number | null, tokens: number}[]} [answer.scores] of the captions
   * @param {string} [answer.warning] that the embedded model substitutes for the default one
   */
  showCaptions({ captions: [best, ...others], scores = [], warning = "" }) {
    this.#enter("done", best);
    this.#part("original").alt = best;
    this.#say("score", scores.length > 0 ? words(scores[0]) : "");
    this.#say("warning", warning);
    const list = this.#part("alternatives");
    list.hidden = others.length === 0;
    list.querySelector("ol").replaceChildren(...others.map((text, place) => alternative(text, scores[place + 1])));
  }

  /** @param {Blob} blob @param {string} name of the file to save it as */
  showResized(blob, name) {
    const figure = this.#part("resized");
    const [link, image, about] = [figure.querySelector("a"), figure.querySelector("img"), figure.querySelector("span:last-child")];
    URL.revokeObjectURL(link.href);
    link.href = image.src = URL.createObjectURL(blob);
    link.download = name;
    link.setAttribute("aria-label", `Save the resized picture as ${name}`);
    image.addEventListener(
      "load",
      () => {
        about.textContent = `${image.naturalWidth} × ${image.naturalHeight} px, resized`;
        image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) < PIXELS_SHOWN);
      },
      { once: true },
    );
    figure.hidden = false;
  }

  /** @param {Error & {mayPass?: boolean}} problem another try is offered unless it is sure to fail */
  fail(problem) {
    this.problem = problem;
    this.#enter("failed", "");
    this.#part("problem").hidden = false;
    this.#part("problem").querySelector("p").textContent = problem.message;
    this.#part("problem").querySelector("button").hidden = problem.mayPass === false;
  }

  /** @param {Error} problem */
  failToResize(problem) {
    this.#part("resized").hidden = true;
    this.#part("resize-problem").hidden = false;
    this.#part("resize-problem").textContent = `Not resized. ${problem.message}`;
  }

  /** @param {"curl-caption" | "curl-resize"} part @param {string} text */
  showLine(part, text) {
    this.#part("curl").hidden = false;
    this.#part(part).hidden = false;
    this.#part(part).querySelector("code").textContent = text;
  }

  remove() {
    this.#removal.abort();
    this.element.remove();
    URL.revokeObjectURL(this.#part("original").src);
    URL.revokeObjectURL(this.#part("resized").querySelector("a").href);
  }

  focus() {
    this.#part("remove").focus();
  }

  /** Show a part with a text, or no such part without one. */
  #say(part, text) {
    this.#part(part).textContent = text;
    this.#part(part).hidden = text === "";
  }

  #part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }

  #enter(state, words) {
    this.element.dataset.state = state;
    this.element.setAttribute("aria-busy", String(state === "waiting" || state === "running"));
    this.#part("caption").textContent = words;
  }

  #showOriginal() {
    const image = this.#part("original");
    const about = this.#part("about-original");
    about.textContent = size(this.file.size);
    image.alt = `The image ${this.file.name}`;
    image.addEventListener("load", () => {
      about.textContent = `${image.naturalWidth} × ${image.naturalHeight} px, ${size(this.file.size)}`;
    });
    image.addEventListener("error", () => image.parentElement.classList.add("blank"));
    image.src = URL.createObjectURL(this.file);
  }
}

function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function alternative(text, score) {
  const item = make("li", text);
  if (score) {
    item.append(make("span", words(score)));
    item.lastChild.className = "score";
  }
  return item;
}

/** A score in words. The logarithm is the mean over the tokens. */
function words({ log_probability: logarithm, tokens }) {
  const number = logarithm === null ? "unknown" : `${logarithm.toPrecision(3).replace("-", "\u2212")} per token`;
  return `Log-probability ${number}, ${tokens} ${tokens === 1 ? "token" : "tokens"}`;
}

function size(bytes) {
  return bytes < 2 ** 20 ? `${Math.ceil(bytes / 2 ** 10)} kB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
