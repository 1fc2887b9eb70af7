/** The page: images come in, a few at a time go to the server, and cards show what it says. */

import { Api } from "./api.js";
import { Card } from "./card.js";
import { captionLine, resizeLine } from "./curl.js";
import { listen } from "./intake.js";
import { Login } from "./login.js";
import { Progress } from "./progress.js";
import { Queue } from "./queue.js";
import { Settings } from "./settings.js";

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" };
const READ_OUT = 4; // images that come at once and whose captions are still read out
const NARROW = "(max-width: 60rem)"; // as in demo.css: there the settings stand above the results

const find = (id) => document.getElementById(id);
const cards = new Set();
const settings = new Settings(find("settings"));
const progress = new Progress(find("progress"), find("status"));
const login = new Login(find("login"), document.body.dataset.checkLoginUrl, () => runAll(wantsLogin));
const api = new Api(document.body.dataset, login);
const queue = new Queue({ onBusy: (seconds) => progress.say(`The server is busy. Going on in ${seconds} s…`) });

/** @param {File[]} files @param {string} [source] the address of a sample */
function take(files, source) {
  const isRead = files.length <= READ_OUT;
  const added = files.map((file) => new Card(file, { source, isRead, onRetry: run, onRemove: remove }));
  for (const card of added) cards.add(card);
  find("cards").prepend(...added.map((card) => card.element));
  added[0]?.element.scrollIntoView({ block: "nearest" });
  for (const card of added) run(card);
}

/** Caption and resize an image with the settings as they are now. */
async function run(card) {
  const { config, size } = settings;
  card.wait();
  progress.begin();
  refresh();
  try {
    login.demand();
    await queue.add((send) => work(card, config, size, send));
    progress.end("done");
  } catch (error) {
    const isCancelled = error.name === "AbortError";
    card.fail(isCancelled ? new Error("Cancelled.") : error);
    if (!isCancelled) settings.complain(error.settings);
    if (wantsLogin(card)) login.focus();
    progress.end(isCancelled ? "cancelled" : "failed");
  }
  refresh();
}

async function work(card, config, size, send) {
  if (card.isRemoved) return;
  card.begin();
  const captioned = caption(card, config, send);
  await captioned.catch((problem) => {
    if (!problem.isOfCaptions) throw problem; // of the file or the server: the resize would fail too
  });
  await resize(card, size, send);
  await captioned;
}

async function caption(card, config, send) {
  card.showLine("curl-caption", captionLine(absolute(api.captionUrl), card.upload, config, login.user));
  const { model, captions } = await send((signal) => api.caption(card.file, config, signal));
  card.showCaptions(captions);
  find("model").querySelector("strong").textContent = model;
  find("model").hidden = false;
  find("embedded-note").hidden = model !== "embedded";
}

async function resize(card, size, send) {
  try {
    const blob = await send((signal) => api.resize(card.file, size, signal));
    const name = `image_resize.${ENDINGS[blob.type]}`;
    card.showResized(blob, name);
    card.showLine("curl-resize", resizeLine(absolute(api.resizeAddress(size)), card.upload, name, login.user));
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    card.failToResize(problem);
    settings.complain(problem.settings);
  }
}

/** @param {(card: Card) => boolean} isMeant */
function runAll(isMeant) {
  for (const card of cards) if (["done", "failed"].includes(card.state) && isMeant(card)) run(card);
}

/** The focus goes to the next card, not to the top of the page. */
function remove(card) {
  const order = [...cards].sort((one, other) => (one.element.compareDocumentPosition(other.element) & 4 ? -1 : 1));
  const place = order.indexOf(card);
  (order[place + 1] ?? order[place - 1] ?? { focus: () => find("drop").focus() }).focus();
  cards.delete(card);
  card.remove();
  refresh();
}

function removeAll() {
  queue.cancel();
  for (const card of cards) card.remove();
  cards.clear();
  find("drop").focus();
  refresh();
}

function refresh() {
  const failed = [...cards].filter((card) => card.state === "failed" && card.problem.mayPass !== false);
  find("again").disabled = cards.size === 0;
  find("empty").hidden = cards.size > 0;
  find("remove-all").hidden = cards.size < 2;
  find("cancel").hidden = progress.isOver;
  find("retry-all").hidden = failed.length < 2 || !progress.isOver;
}

function wantsLogin(card) {
  return card.problem?.status === 401;
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
find("settings-details").open = !matchMedia(NARROW).matches;
