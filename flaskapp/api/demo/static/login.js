/** Who is logged in, where the server wants a login. */

import { Problem } from "./problem.js";

export class Login {
  /** A page without the form lets the browser send what it has, for a proxy that may want it. */
  credentials = "same-origin";
  user = "";
  #authorization = null;

  /**
   * @param {HTMLFormElement | null} form there is one where the server wants a login
   * @param {string} checkUrl an address that answers 401 unless the login is right
   * @param {() => void} onLogin
   */
  constructor(form, checkUrl, onLogin) {
    this.form = form;
    this.checkUrl = checkUrl;
    this.onLogin = onLogin;
    if (!form) return;
    this.credentials = "omit"; // the form asks, not a dialog of the browser
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter();
    });
  }

  /** @returns {HeadersInit} */
  headers() {
    return this.#authorization ? { Authorization: this.#authorization } : {};
  }

  /** Raise a problem where a login is wanted and there is none: images are not sent in vain. */
  demand() {
    if (this.form && !this.#authorization) {
      throw new Problem("Log in first: then it is captioned.", { status: 401 });
    }
  }

  /**
   * The server refused a login: it is not sent again.
   * @param {string | undefined} authorization the one that was sent; another may have come since
   */
  forget(authorization) {
    if (!authorization || authorization !== this.#authorization) return;
    this.#authorization = null;
    this.user = "";
    this.#say("This login is not right any more. Log in again.", "wrong");
  }

  /** Whoever types already is left alone. */
  focus() {
    if (this.form && !this.form.contains(document.activeElement)) this.form.querySelector("input").focus();
  }

  async #enter() {
    const { username, password } = this.form.elements;
    const authorization = basic(username.value, password.value);
    try {
      await check(this.checkUrl, authorization);
    } catch (error) {
      this.#say(error.message, "wrong");
      return;
    }
    this.#authorization = authorization;
    this.user = username.value;
    password.value = "";
    this.#say(`Logged in as ${this.user}.`, "right");
    this.onLogin();
  }

  #say(text, kind) {
    const said = this.form.querySelector("[role=status]");
    said.textContent = text;
    said.className = `said ${kind}`;
  }
}

async function check(url, authorization) {
  const request = { headers: { Authorization: authorization }, credentials: "omit" };
  const answer = await fetch(url, request).catch(() => {
    throw Problem.unreachable();
  });
  if (answer.status === 401) throw new Problem("Wrong name or password.", { status: 401 });
  if (!answer.ok) throw await Problem.of(answer);
}

/** HTTP Basic of the server's charset, UTF-8. */
function basic(username, password) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
