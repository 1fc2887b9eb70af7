/** The requests of the page as command lines for a POSIX shell. */

/** curl asks for the password of a login. The token is left to a variable: what a shell runs is kept in its history. */
const TOKEN_OPTION = '-H "Authorization: Bearer $TOKEN"';

/** @typedef {{user: string, hasToken: boolean}} Login `user` is "" where nobody is logged in by name */

/**
 * @typedef {object} Upload
 * @property {string} name the file's name
 * @property {string} [source] the address of a sample, which is no file yet where curl runs
 */

/**
 * @param {string} url
 * @param {Upload} upload
 * @param {object} config generation settings that are not the default
 * @param {Login} login
 */
export function captionLine(url, upload, config, login) {
  const form = Object.keys(config).length > 0 ? ["-F", `config=${JSON.stringify(config)}`] : [];
  return line(url, upload, form, login);
}

/**
 * @param {string} url with the size in its query
 * @param {Upload} upload
 * @param {string} output the file to save the picture to
 * @param {Login} login
 */
export function resizeLine(url, upload, output, login) {
  return line(url, upload, ["-o", output], login);
}

function line(url, { name, source }, options, login) {
  const file = source ? `data=@-;filename=${forCurl(name)}` : `data=@${forCurl(name === "-" ? "./-" : name)}`;
  const words = ["-F", file, ...options, url].map(forShell);
  const download = source ? `curl -s ${forShell(source)} | ` : "";
  return download + ["curl", ...loginOption(login), ...words].join(" ");
}

function loginOption({ user, hasToken }) {
  if (hasToken) return [TOKEN_OPTION];
  return user ? ["-u", forShell(user)] : [];
}

/** In single quotes nothing is special to a shell, but a single quote. */
function forShell(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** To curl, commas and semicolons end a name in -F, unless it is in double quotes. */
function forCurl(name) {
  return /^[\w.-][\w./ -]*[\w.-]$|^[\w.-]$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}
