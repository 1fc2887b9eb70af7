/** The requests of the page as command lines for a POSIX shell. */

/**
 * @typedef {object} Upload
 * @property {string} name the file's name
 * @property {string} [source] the address of a sample, which is no file yet where curl runs
 */

/**
 * @param {string} url
 * @param {Upload} upload
 * @param {object} config generation settings that are not the default
 * @param {string} [user] whom to log in; curl asks for the password
 */
export function captionLine(url, upload, config, user = "") {
  const form = Object.keys(config).length > 0 ? ["-F", `config=${JSON.stringify(config)}`] : [];
  return line(url, upload, form, user);
}

/**
 * @param {string} url with the size in its query
 * @param {Upload} upload
 * @param {string} output the file to save the picture to
 * @param {string} [user] whom to log in; curl asks for the password
 */
export function resizeLine(url, upload, output, user = "") {
  return line(url, upload, ["-o", output], user);
}

function line(url, { name, source }, options, user) {
  const login = user ? ["-u", user] : [];
  const file = source ? `data=@-;filename=${forCurl(name)}` : `data=@${forCurl(name === "-" ? "./-" : name)}`;
  const words = ["curl", ...login, "-F", file, ...options, url];
  const download = source ? `curl -s ${forShell(source)} | ` : "";
  return download + words.map(forShell).join(" ");
}

/** In single quotes nothing is special to a shell, but a single quote. */
function forShell(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** To curl, commas and semicolons end a name in -F, unless it is in double quotes. */
function forCurl(name) {
  return /^[\w.-][\w./ -]*[\w.-]$|^[\w.-]$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`;
}
