/** One image on the page: its pictures, captions and errors, and the curl commands of the same requests. */

import { copyOnClick } from "./copy.js";
import { keepFocus } from "./focus.js";
import { draw, freeze } from "./freeze.js";

const PIXELS_SHOWN = 160; // side of the frame of the resized picture; smaller pictures are scaled up without smoothing

export class Card {
  #removal = new AbortController();
  #address; // blob: URL of the image
  #isBlank = false; // the browser cannot show the image
  #onBlank;

  /**
   * @param {File} file
   * @param {object} options
   * @param {string} [options.source] the address of a sample
   * @param {boolean} options.isRead whether a screen reader reads out the caption
   * @param {(card: Card) => void} options.onResize
   * @param {(card: Card) => void} options.onRetry
   * @param {(card: Card) => void} options.onRemove
   * @param {(card: Card) => void} options.onBlank called after the caption, if the browser cannot show the image
   */
  constructor(file, { source, isRead, onResize, onRetry, onRemove, onBlank }) {
    this.file = file;
    this.upload = { name: file.name, source };
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.problem = null;
    this.#onBlank = onBlank;
    this.#part("name").textContent = file.name;
    if (isRead) this.#part("caption").setAttribute("aria-live", "polite");
    this.#part("remove").setAttribute("aria-label", `Remove ${file.name}`);
    this.#part("remove").addEventListener("click", () => onRemove(this));
    this.#part("problem").querySelector("button").addEventListener("click", () => onRetry(this));
    this.#part("resize").setAttribute("aria-label", `Resize ${file.name}`);
    this.#part("resize").addEventListener("click", () => this.isResizing || onResize(this));
    this.#part("copy").setAttribute("aria-label", `Copy the caption of ${file.name}`);
    copyOnClick(this.#part("copy"), this.#part("caption"));
    for (const line of this.element.querySelectorAll(".line")) {
      copyOnClick(line.querySelector("button"), line.querySelector("code"));
    }
    this.#showOriginal();
  }

  /** "waiting", "running", "done" or "failed" */
  get state() {
    return this.element.dataset.state;
  }

  get isResizing() {
    return this.#part("resized").ariaBusy === "true";
  }

  /** Aborted when the card is removed. */
  get signal() {
    return this.#removal.signal;
  }

  wait() {
    this.#enter("waiting", "Waiting…");
    this.problem = null;
    const hide = () => {
      for (const part of ["problem", "tools", "alternatives", "score", "warning"]) this.#part(part).hidden = true;
    };
    keepFocus(hide, this.#part("name"));
  }

  begin() {
    this.#enter("running", "Looking…");
  }

  /**
   * @param {object} answer
   * @param {string[]} answer.captions the best first
   * @param {{log_probability: number | null, tokens: number}[]} [answer.scores] of the captions
   * @param {string} [answer.warning] present if the embedded model replaces the default one
   * @param {{total: number, model: number | null}} [answer.seconds] durations of the request and of the model
   */
  showCaptions({ captions: [best, ...others], scores = [], warning = "", seconds }) {
    this.#enter("done", best);
    this.#describeOriginal(best);
    this.#part("tools").hidden = false;
    this.#part("time").textContent = seconds ? duration(seconds) : "";
    this.#say("score", scores.length > 0 ? words(scores[0]) : "");
    this.#say("warning", warning);
    const list = this.#part("alternatives");
    list.hidden = others.length === 0;
    list.querySelector("ol").replaceChildren(...others.map((text, place) => alternative(text, scores[place + 1])));
    this.#askForOriginal();
  }

  /** Show the server's picture of an image that the browser cannot show.
   *
   * @param {ImageBitmap} picture of any size
   * @param {number} width of the image in pixels
   * @param {number} height
   */
  showOriginal(picture, width, height) {
    const image = this.#part("original");
    const scale = Math.min(1, Math.max(picture.width, picture.height) / Math.max(width, height));
    image.parentElement.classList.remove("blank");
    this.#part("about-original").textContent = `${width} × ${height} px, ${size(this.file.size)}`;
    draw(image, picture, Math.ceil(width * scale), Math.ceil(height * scale));
  }

  beginToResize() {
    this.#part("resized").ariaBusy = "true";
    this.#part("resize-problem").hidden = true;
  }

  /** @param {Blob} blob @param {string} name file name for saving it */
  showResized(blob, name) {
    const figure = this.#part("resized");
    const [link, image, about] = ["a", "img", "figcaption"].map((tag) => figure.querySelector(tag));
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
    link.hidden = false;
    figure.ariaBusy = "false";
  }

  /** @param {Error & {mayPass?: boolean}} problem a retry is offered if `mayPass` */
  fail(problem) {
    this.problem = problem;
    this.#enter("failed", "");
    this.#part("problem").hidden = false;
    this.#part("problem").querySelector("p").textContent = problem.message;
    this.#part("problem").querySelector("button").hidden = problem.mayPass === false;
  }

  /** @param {Error} problem */
  failToResize(problem) {
    this.#part("resized").ariaBusy = "false";
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
    URL.revokeObjectURL(this.#address);
    URL.revokeObjectURL(this.#part("resized").querySelector("a").href);
  }

  focus() {
    this.#part("remove").focus();
  }

  /** Show a part with its text. Without a text, hide the part. */
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
    this.#describeOriginal(`The image ${this.file.name}`);
    image.addEventListener("load", () => {
      about.textContent = `${image.naturalWidth} × ${image.naturalHeight} px, ${size(this.file.size)}`;
      freeze(image, this.file);
    });
    image.addEventListener("error", () => {
      image.parentElement.classList.add("blank");
      this.#isBlank = true;
      this.#askForOriginal();
    });
    image.src = this.#address = URL.createObjectURL(this.file);
  }

  #askForOriginal() {
    if (!this.#isBlank || this.state !== "done") return;
    this.#isBlank = false;
    this.#onBlank(this);
  }

  /** @param {string} words replacement text for screen readers */
  #describeOriginal(words) {
    const original = this.#part("original"); // the image, or the canvas that replaced it
    original.setAttribute(original.matches("img") ? "alt" : "aria-label", words);
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

function duration({ total, model }) {
  const whole = `Took ${total.toFixed(2)} s`;
  return model === null ? whole : `${whole}, ${model.toFixed(2)} s of that in the model`;
}

/** Return the text of a score. The log-probability is the mean over the tokens. */
function words({ log_probability: logarithm, tokens }) {
  const number = logarithm === null ? "unknown" : `${logarithm.toPrecision(3).replace("-", "\u2212")} per token`;
  return `Log-probability ${number}, ${tokens} ${tokens === 1 ? "token" : "tokens"}`;
}

function size(bytes) {
  return bytes < 2 ** 20 ? `${Math.ceil(bytes / 2 ** 10)} kB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
