/** The page's requests as curl commands for a POSIX shell. */

/** curl asks for the password. The token comes from a variable, because a shell's history keeps its commands. */
const TOKEN_OPTION = '-H "Authorization: Bearer $TOKEN"';

/** @typedef {{user: string, hasToken: boolean}} Login `user` is "" without a login by name */

/**
 * @typedef {object} Upload
 * @property {string} name the file's name
 * @property {string} [source] the URL of a sample, which curl must download first
 */

/**
 * @param {string} url
 * @param {Upload} upload
 * @param {object} config generation settings that differ from the defaults
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

/** Quote for a shell. In single quotes, only a single quote is special. */
function forShell(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Quote a name for curl's -F, in which commas and semicolons end a name without double quotes. */
function forCurl(name) {
  return /^[\w.-][\w./ -]*[\w.-]$|^[\w.-]$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}
