/** Errors of requests, with messages for users. */

const UNREACHABLE = "The server cannot be reached. It may be down, or you are offline.";

/** Messages for error responses without one, such as a proxy's. */
const BY_STATUS = {
  413: "The file is larger than the server accepts.",
  415: "This is not an image that the server can read.",
  429: "Too many requests from here.",
  500: "Something went wrong in the server.",
  502: UNREACHABLE,
  503: "The server is busy.",
  504: "The server did not answer in time.",
};

export class Problem extends Error {
  /**
   * @param {string} message for the user
   * @param {object} [details]
   * @param {number} [details.status] the HTTP status; 0: there was no answer
   * @param {number | null} [details.retryAfter] seconds until a retry
   * @param {Record<string, string>} [details.settings] messages by the names of settings
   */
  constructor(message, { status = 0, retryAfter = null, settings = {} } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.settings = settings;
  }

  /** Whether a retry may succeed, later or with other settings. With a broken file it cannot. */
  get mayPass() {
    const isTheFile = [400, 413, 415].includes(this.status);
    return !isTheFile && (this.status !== 422 || Object.keys(this.settings).length > 0);
  }

  static unreachable() {
    return new Problem(UNREACHABLE);
  }

  /** A successful response that this page does not understand, such as a proxy's. */
  static unexpected() {
    return new Problem("The server answered something that this page does not understand.");
  }

  /**
   * Read an error response. All errors of the server have one shape.
   * @param {Response} answer
   */
  static async of(answer) {
    const body = await answer.json().catch(() => null);
    const found = messages(body?.errors);
    const retryAfter = seconds(answer.headers.get("Retry-After"));
    const settings = Object.fromEntries(found.filter(({ name }) => name).map(({ name, text }) => [name, text]));
    const words = found.map(({ name, text }) => (name ? `${name}: ` : "") + sentence(text));
    const fallback = BY_STATUS[answer.status] ?? `The server answered ${answer.status} ${answer.statusText}`;
    const text = words.join(" ") || sentence(body?.message ?? fallback);
    const wait = retryAfter === null ? "" : ` Try again in ${retryAfter} s.`;
    return new Problem(text + wait, { status: answer.status, retryAfter, settings });
  }
}

/**
 * Flatten `errors`: {"multipart": {"config": {"seed": ["…"]}}} -> [{name: "seed", text: "…"}]. An error of the file
 * has no name, because its card shows it.
 * @returns {{name: string, text: string}[]}
 */
function messages(errors, name = "") {
  if (typeof errors === "string") return [{ name, text: errors }];
  if (Array.isArray(errors)) return errors.flatMap((each) => messages(each, name));
  return Object.entries(errors ?? {}).flatMap(([key, inner]) => {
    const isPlace = ["multipart", "query", "json", "data", "config"].includes(key) || /^\d+$/.test(key);
    return messages(inner, isPlace ? name : key);
  });
}

/** Return the seconds of Retry-After, which is a number of seconds or a date. */
function seconds(header) {
  if (header === null) return null;
  const value = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(value) ? null : Math.max(0, Math.ceil(value));
}

export function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
