/** The login, if the server requires one. */

import { Problem } from "./problem.js";

const WRONG_LOGIN = "Wrong name or password.";
const WRONG_TOKEN = "This token is unknown, revoked or expired.";
const SENDABLE = /^[ -~]*$/; // printable ASCII, as in all tokens

export class Login {
  /** Without the form, the browser sends its own credentials, which a proxy may require. */
  credentials = "same-origin";
  user = "";
  hasToken = false;
  #authorization = null;

  /**
   * @param {HTMLFormElement | null} form null if the server requires no login
   * @param {string} checkUrl a URL that answers 401 to a wrong login
   * @param {() => void} onLogin
   */
  constructor(form, checkUrl, onLogin) {
    this.form = form;
    this.checkUrl = checkUrl;
    this.onLogin = onLogin;
    if (!form) return;
    this.credentials = "omit"; // the form asks for the login, not a dialog of the browser
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
   * Throw a Problem if a login is required but missing, before images are sent.
   * @param {string} outcome the effect of a login, for the message
   */
  demand(outcome) {
    if (this.form && !this.#authorization) {
      throw new Problem(`Log in first: then ${outcome}.`, { status: 401 });
    }
  }

  /**
   * Forget a login that the server rejected.
   * @param {string | undefined} authorization the rejected one; the user may have entered another since
   */
  forget(authorization) {
    if (!authorization || authorization !== this.#authorization) return;
    this.#say(`This ${this.hasToken ? "token" : "login"} is not right any more. Log in again.`, "wrong");
    this.#authorization = null;
    this.user = "";
    this.hasToken = false;
  }

  /** Focus the form, unless the user is typing in a field. */
  focus() {
    if (!this.form || this.form.contains(document.activeElement)) return;
    this.form.querySelector("input").focus();
    this.form.scrollIntoView(); // also ends the scroll to the new card
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

/** @param {string} refusal the message for a wrong login */
async function check(url, authorization, refusal) {
  if (!SENDABLE.test(authorization)) throw new Problem(refusal, { status: 401 });
  const request = { headers: { Authorization: authorization }, credentials: "omit" };
  const answer = await fetch(url, request).catch(() => {
    throw Problem.unreachable();
  });
  if (answer.status === 401) throw new Problem(refusal, { status: 401 });
  if (!answer.ok) throw await Problem.of(answer);
}

/** Return HTTP Basic credentials in UTF-8, the server's charset. */
function basic(username, password) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
