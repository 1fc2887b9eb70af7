/** The page: send images to the server, a few at a time, and show the answers on cards. */

import { Api } from "./api.js";
import { Card } from "./card.js";
import { captionLine, resizeLine } from "./curl.js";
import { keepFocus } from "./focus.js";
import { whenLoaded } from "./readiness.js";
import { listen } from "./intake.js";
import { JobPanel } from "./job_panel.js";
import { Login } from "./login.js";
import { Problem } from "./problem.js";
import { Progress } from "./progress.js";
import { Queue } from "./queue.js";
import { Settings } from "./settings.js";

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" };
const READ_OUT = 4; // most images at once whose captions are read out
const PREVIEW = 320; // pixels of a side; twice the size of the frame
const NARROW = matchMedia("(max-width: 60rem)"); // one column, as in demo.css
const CANCELLED = new Problem("Cancelled.");

const find = (id) => document.getElementById(id);
const cards = new Set();
const jobs = new Set();
const settings = new Settings(find("settings"));
const progress = new Progress(find("progress"), find("status"));
const login = new Login(find("login"), document.body.dataset.checkLoginUrl, () => {
  runAll(wantsLogin);
  for (const job of jobs) if (wantsLogin(job)) job.run();
});
const api = new Api(document.body.dataset, login);
const queue = new Queue({ onBusy: (seconds) => progress.say(`The server is busy. Going on in ${seconds} s…`) });

let isStale = false; // whether a refresh is scheduled

/** @param {File[]} files @param {string} [source] the URL of a sample */
function take(files, source) {
  const isRead = files.length <= READ_OUT;
  const does = { onResize: resize, onRetry: run, onRemove: remove, onBlank: preview };
  const added = files.map((file) => new Card(file, { source, isRead, ...does }));
  for (const card of added) cards.add(card);
  find("cards").prepend(...added.map((card) => card.element));
  added[0]?.element.scrollIntoView({ block: "nearest" });
  start(added);
}

/** @param {Card[]} meant */
function start(meant) {
  if (!find("as-job").checked) for (const card of meant) run(card);
  else if (meant.length > 0) startJob(meant);
}

function startJob(meant) {
  const say = (text) => progress.say(text);
  const job = new JobPanel(meant, { api, login, settings, say, onChange: refresh, onRemove: removeJob });
  jobs.add(job);
  find("jobs").prepend(job.element);
  job.element.scrollIntoView({ block: "nearest" });
  job.run();
}

/** Caption an image with the present settings. */
async function run(card) {
  const { config } = settings;
  card.wait();
  progress.begin();
  refresh();
  let outcome = "failed";
  try {
    await queue.add((send) => caption(card, config, send));
    outcome = "done";
  } catch (error) {
    if (isCancel(error)) outcome = "cancelled";
    fail(card, error);
  } finally {
    progress.end(outcome);
    refresh();
  }
}

async function caption(card, config, send) {
  card.signal.throwIfAborted();
  login.demand("it is captioned");
  card.begin();
  card.showLine("curl-caption", captionLine(absolute(api.captionUrl), card.upload, config, login));
  const request = (signal) => api.caption(card.file, config, AbortSignal.any([signal, card.signal]));
  const answer = await send(request);
  card.showCaptions(answer);
  document.body.dataset.warning = answer.warning ?? "";
  showModel(answer.model);
}

function fail(card, error) {
  card.fail(problemOf(error));
  settings.complain(card.problem.settings);
  if (wantsLogin(card)) login.focus();
}

/** Return the Problem that a card shows for an error. Log a bug of this page. */
function problemOf(error) {
  if (isCancel(error)) return CANCELLED;
  if (error instanceof Problem) return error;
  reportError(error);
  return new Problem("Something went wrong in this page.");
}

function showModel(name) {
  find("model").querySelector("strong").textContent = name;
  find("model").hidden = false;
  find("embedded-note").hidden = name !== "embedded";
}

/** Resize an image to the present size of the settings. */
async function resize(card) {
  const { size } = settings;
  card.beginToResize();
  try {
    login.demand("it can be resized");
    const blob = await api.resize(card.file, size, card.signal);
    const name = `image_resize.${ENDINGS[blob.type]}`;
    card.showResized(blob, name);
    card.showLine("curl-resize", resizeLine(absolute(api.resizeAddress(size)), card.upload, name, login));
  } catch (error) {
    if (card.signal.aborted) return;
    const problem = problemOf(error);
    card.failToResize(problem);
    settings.complain(problem.settings);
    if (problem.status === 401) login.focus();
  }
}

/** Fetch and show a picture that the browser cannot show, such as a TIFF's first page. On failure show none. */
async function preview(card) {
  const side = Math.min(PREVIEW, Number(find("w").max));
  try {
    const request = (signal) => api.preview(card.file, side, AbortSignal.any([signal, card.signal]));
    const { picture, width, height } = await queue.add((send) => send(request));
    card.showOriginal(picture, width, height);
  } catch (error) {
    if (!isCancel(error) && !(error instanceof Problem)) reportError(error);
  }
}

/** @param {(card: Card) => boolean} isMeant */
function runAll(isMeant) {
  start([...cards].filter((card) => ["done", "failed"].includes(card.state) && isMeant(card)));
}

/** Remove a card. The focus goes to the next card, not to the top of the page. */
function remove(card) {
  const order = [...cards].sort((one, other) => (one.element.compareDocumentPosition(other.element) & 4 ? -1 : 1));
  const place = order.indexOf(card);
  (order[place + 1] ?? order[place - 1] ?? { focus: () => find("drop").focus() }).focus();
  cards.delete(card);
  card.remove();
  refresh();
}

function removeJob(job) {
  jobs.delete(job);
  job.remove();
  find("results-title").focus();
}

function removeAll() {
  queue.cancel();
  for (const job of jobs) job.remove();
  jobs.clear();
  for (const card of cards) card.remove();
  cards.clear();
  find("drop").focus();
  refresh();
}

/** Refresh soon, once for several changes. */
function refresh() {
  if (isStale) return;
  isStale = true;
  requestAnimationFrame(() => keepFocus(show, find("cancel"), find("retry-all"), find("results-title")));
}

function show() {
  isStale = false;
  const failed = [...cards].filter((card) => card.state === "failed" && card.problem.mayPass !== false);
  find("again").disabled = cards.size === 0;
  find("empty").hidden = cards.size > 0;
  find("remove-all").hidden = cards.size < 2;
  find("cancel").hidden = progress.isOver;
  find("retry-all").hidden = failed.length < 2 || !progress.isOver;
}

/** In one column, put the results above the samples. The elements are moved, so that Tab has the same order. */
function placeSamples() {
  if (NARROW.matches) find("results").after(find("examples"));
  else find("intake").append(find("examples"));
}

function isCancel(error) {
  return error.name === "AbortError";
}

/** @param {Card | JobPanel} each */
function wantsLogin(each) {
  return each.problem?.status === 401;
}

function absolute(address) {
  return new URL(address, location.href).href;
}

listen({ drop: find("drop"), input: find("files"), samples: document.querySelectorAll("[data-sample]") }, take, (problem) =>
  progress.say(problem.message),
);
find("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  runAll(() => true);
});
find("cancel").addEventListener("click", () => queue.cancel());
find("retry-all").addEventListener("click", () => runAll((card) => card.state === "failed" && card.problem.mayPass !== false));
find("remove-all").addEventListener("click", removeAll);
if (find("model").hidden) {
  whenLoaded(document.body.dataset.readyUrl, ({ name, message, defaults, takes_prompt: takesPrompt }) => {
    document.body.dataset.warning = message === "OK" ? "" : message;
    settings.start(defaults, takesPrompt);
    showModel(name);
  });
}
find("settings-details").open = !NARROW.matches;
NARROW.addEventListener("change", placeSamples);
placeSamples();
