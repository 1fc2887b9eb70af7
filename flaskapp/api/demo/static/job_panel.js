/** A caption job on the page: its progress bar, its buttons, and its results on the cards of the images. */

import { megabytes, readStart } from "./api.js";
import { keepFocus } from "./focus.js";
import { Job } from "./job.js";
import { Problem, sentence } from "./problem.js";
import { images } from "./progress.js";
import { sleep } from "./queue.js";

const PAUSES = { first: 250, last: 2000, after: 5000 }; // milliseconds between requests; `after` a failed one
const ACTIVE = ["queued", "running"];
const ENDS = { cancelled: "Cancelled: ", expired: "It took too long and was ended: " };
const WITHOUT = { cancelled: "The job was cancelled before its turn.", expired: "The job ended before its turn." };
const ZIP = "PK"; // first bytes of a zip, but of no image

export class JobPanel {
  #controller = new AbortController();
  #job = null;
  #sent = []; // cards in the order of the job's images

  /**
   * @param {import("./card.js").Card[]} cards
   * @param {object} page
   * @param {import("./api.js").Api} page.api
   * @param {import("./login.js").Login} page.login
   * @param {import("./settings.js").Settings} page.settings
   * @param {(text: string) => void} page.say reads a text out
   * @param {() => void} page.onChange called when cards have changed
   * @param {(panel: JobPanel) => void} page.onRemove
   */
  constructor(cards, page) {
    this.cards = cards;
    this.page = page;
    this.problem = null;
    for (const card of cards) card.wait();
    this.element = document.getElementById("job").content.firstElementChild.cloneNode(true);
    this.#part("title").textContent = `Job of ${images(cards.length)}`;
    this.#part("cancel").addEventListener("click", () => this.#cancel());
    this.#part("again").addEventListener("click", () => this.run());
    this.#part("remove").addEventListener("click", () => page.onRemove(this));
    for (const link of this.#part("downloads").querySelectorAll("a")) {
      link.addEventListener("click", (event) => this.#download(event));
    }
  }

  /** Start, or continue after a failure without sending the images again. */
  async run() {
    this.problem = null;
    this.#show({ cancel: true });
    try {
      this.page.login.demand("it is captioned");
      if (!this.#job?.isTaken) await this.#submit();
      const status = await this.#watch();
      await this.#showResults(status);
      this.#end(status);
    } catch (error) {
      this.#fail(error);
    }
    this.page.onChange();
  }

  remove() {
    const isActive = !this.#part("cancel").hidden;
    this.#controller.abort();
    if (isActive && this.#job?.isTaken) this.#job.cancel().catch(() => {}); // without this it still ends or expires
    this.element.remove();
  }

  async #submit() {
    if (this.#job) for (const card of this.#sent.filter(({ state }) => state === "failed")) card.wait();
    else this.#sent = await readable(this.cards);
    this.page.onChange();
    if (this.#sent.length === 0) throw new Problem("None of these is an image that can be sent.", { status: 415 });
    this.#job ??= new Job(this.page.api, document.body.dataset, this.#sent.map(({ file }) => file));
    const { scores, ...config } = this.page.settings.config; // jobs have no scores
    this.#job.configure(config);
    const size = this.#job.files.reduce((sum, file) => sum + file.size, 0);
    const words = `Sending ${images(this.#sent.length)}, ${megabytes(size)} MB…`;
    this.page.say(words);
    const submit = (signal) => {
      this.#say(words);
      return this.#job.submit(signal);
    };
    await this.#patiently(submit, [429, 503]);
    this.page.say(`Captioning ${images(this.#sent.length)} as one job…`);
  }

  /** Poll the status until the job has ended. @returns {Promise<import("./job.js").Status>} */
  async #watch() {
    for (let pause = PAUSES.first; ; pause = Math.min(pause * 1.5, PAUSES.last)) {
      const status = await this.#ask((signal) => this.#job.status(signal));
      this.#showStatus(status);
      if (!ACTIVE.includes(status.state)) return status;
      await sleep(pause, this.#controller.signal);
    }
  }

  async #showResults({ state, total }) {
    for (let page = 1; page <= this.#job.pages(total); page += 1) {
      for (const { index, captions, error } of await this.#ask((signal) => this.#job.results(page, signal))) {
        const card = this.#sent[index];
        if (!card || card.signal.aborted) continue;
        if (captions) card.showCaptions({ captions, warning: document.body.dataset.warning });
        else card.fail(new Problem(error ? sentence(error) : (WITHOUT[state] ?? "There is no caption.")));
      }
      this.page.onChange();
    }
  }

  #ask(request) {
    return this.#patiently(request, [0, 429, 502, 503, 504]);
  }

  /** Retry while the answer has one of these statuses. 0 is no answer. */
  async #patiently(request, passing) {
    for (;;) {
      try {
        return await request(this.#controller.signal);
      } catch (problem) {
        if (!passing.includes(problem.status)) throw problem;
        const wait = problem.retryAfter === null ? PAUSES.after : problem.retryAfter * 1000;
        this.#say(problem.retryAfter === null ? `${problem.message} Asking again in ${wait / 1000} s.` : problem.message);
        await sleep(wait, this.#controller.signal);
      }
    }
  }

  /** Abort an upload. Cancel a job that the server has accepted, and show its results. */
  async #cancel() {
    if (!this.#job?.isTaken) {
      this.#controller.abort();
      this.#controller = new AbortController();
      return;
    }
    await this.#job.cancel().catch((problem) => this.#say(`Not cancelled. ${problem.message}`));
  }

  /** Without a login, the browser saves the link itself. It would not send a login of this page. */
  async #download(event) {
    const link = event.currentTarget;
    const { format } = link.dataset;
    if (!format || !this.page.login.form) return;
    event.preventDefault();
    try {
      save(await this.#job.download(format, this.#controller.signal), link.download);
    } catch (problem) {
      this.#say(`Not saved. ${problem.message}`);
      if (problem.status === 401) this.page.login.focus();
    }
  }

  #showStatus({ state, total, done, failed, seconds_remaining: seconds }) {
    const bar = this.#part("bar");
    [bar.max, bar.value, bar.textContent] = [total, done + failed, `${done + failed} of ${total}`];
    const left = state === "queued" ? "Waiting for its turn." : seconds === null ? "" : `About ${duration(seconds)} left.`;
    this.#say(`${count({ total, done, failed })} ${ACTIVE.includes(state) ? left : ""}`.trim());
  }

  #end(status) {
    const words = (ENDS[status.state] ?? "") + count(status);
    this.#say(words);
    this.page.say(words);
    for (const link of this.#part("downloads").querySelectorAll("a")) {
      link.href = this.#job.downloadAddress(link.dataset.format);
    }
    this.#show({ downloads: true, remove: true });
  }

  #fail(error) {
    if (!this.element.isConnected) return;
    const isCancel = error.name === "AbortError";
    if (!isCancel && !(error instanceof Problem)) reportError(error);
    const said = isCancel ? "Cancelled." : error instanceof Problem ? error.message : "Something went wrong in this page.";
    this.problem = isCancel ? new Problem(said) : error;
    this.#say(said);
    this.page.say(said);
    this.#show({ again: this.problem.mayPass !== false, remove: true });
    this.page.settings.complain(this.problem.settings);
    if (this.problem.status === 401) this.page.login.focus(); // the cards keep waiting
    else for (const card of this.#sent) if (card.state === "waiting") card.fail(new Problem(isCancel ? said : "Nothing came of the job."));
  }

  /** Show these buttons and hide the others. */
  #show(shown) {
    const hide = () => {
      for (const name of ["cancel", "again", "downloads", "remove"]) this.#part(name).hidden = !shown[name];
      this.#part("bar").hidden = !shown.cancel;
    };
    keepFocus(hide, this.#part("cancel"), this.#part("again"), this.#part("title"));
    if (shown.cancel) this.#part("bar").removeAttribute("value");
  }

  #say(words) {
    this.#part("words").textContent = words;
    this.#part("words").classList.toggle("wrong", Boolean(this.problem));
  }

  #part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }
}

/** Return the cards of files that can be sent together. Show an error on the others. */
async function readable(cards) {
  const sent = [];
  for (const card of cards) {
    if (card.signal.aborted) continue;
    try {
      if ((await readStart(card.file, ZIP.length)) === ZIP) throw new Problem("This is a zip, not an image.", { status: 415 });
      sent.push(card);
    } catch (problem) {
      card.fail(problem);
    }
  }
  return sent;
}

function count({ total, done, failed }) {
  return `${done} of ${images(total)} captioned${failed ? `, ${failed} failed` : ""}.`;
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} minutes`;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // late enough for a dialog of the browser
}
