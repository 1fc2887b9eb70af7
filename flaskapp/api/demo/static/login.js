/** Who is logged in, where the server wants a login. */

import { Problem } from "./problem.js";

const WRONG_LOGIN = "Wrong name or password.";
const WRONG_TOKEN = "This token is unknown, revoked or expired.";
const SENDABLE = /^[ -~]*$/; // in a header; no token has another character

export class Login {
  /** A page without the form lets the browser send what it has, for a proxy that may want it. */
  credentials = "same-origin";
  user = "";
  hasToken = false;
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

  /**
   * Raise a problem where a login is wanted and there is none: images are not sent in vain.
   * @param {string} outcome what a login leads to
   */
  demand(outcome) {
    if (this.form && !this.#authorization) {
      throw new Problem(`Log in first: then ${outcome}.`, { status: 401 });
    }
  }

  /**
   * The server refused a login: it is not sent again.
   * @param {string | undefined} authorization the one that was sent; another may have come since
   */
  forget(authorization) {
    if (!authorization || authorization !== this.#authorization) return;
    this.#say(`This ${this.hasToken ? "token" : "login"} is not right any more. Log in again.`, "wrong");
    this.#authorization = null;
    this.user = "";
    this.hasToken = false;
  }

  /** Whoever types already is left alone. */
  focus() {
    if (this.form && !this.form.contains(document.activeElement)) this.form.querySelector("input").focus();
  }

  async #enter() {
    const { username, password, token: tokenField } = this.form.elements;
    const token = tokenField.value.trim();
    const user = token ? "" : username.value;
    const authorization = token ? `Bearer ${token}` : basic(user, password.value);
    try {
      await check(this.checkUrl, authorization, token ? WRONG_TOKEN : WRONG_LOGIN);
    } catch (error) {
      this.#say(error.message, "wrong");
      return;
    }
    this.#authorization = authorization;
    this.user = user;
    this.hasToken = token !== "";
    password.value = tokenField.value = "";
    this.#say(token ? "Logged in by a token." : `Logged in as ${user}.`, "right");
    this.onLogin();
  }

  #say(text, kind) {
    const said = this.form.querySelector("[role=status]");
    said.textContent = text;
    said.className = `said ${kind}`;
  }
}

/** @param {string} refusal what to say of a login that the server does not know */
async function check(url, authorization, refusal) {
  if (!SENDABLE.test(authorization)) throw new Problem(refusal, { status: 401 });
  const request = { headers: { Authorization: authorization }, credentials: "omit" };
  const answer = await fetch(url, request).catch(() => {
    throw Problem.unreachable();
  });
  if (answer.status === 401) throw new Problem(refusal, { status: 401 });
  if (!answer.ok) throw await Problem.of(answer);
}

/** HTTP Basic of the server's charset, UTF-8. */
function basic(username, password) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
