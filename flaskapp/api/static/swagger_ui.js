const FOLDED = ["probes", "metrics"]; // operators' tags, collapsed at first

const root = document.getElementById("swagger-ui");
// Absolute: the servers in the document are relative to it.
const url = new URL(root.dataset.spec, location.href).href;

// `docExpansion` applies to all tags. This collapses some by default; a click or a link still expands them.
const isShown = (original) => (state, path, isOpen) => original(path, isOpen && !isFolded(path));
const foldTags = () => ({ statePlugins: { layout: { wrapSelectors: { isShown } } } });

function isFolded([kind, tag]) {
  return kind === "operations-tag" && FOLDED.includes(tag);
}

// Swagger UI keeps a form's fields as the body when another content type is chosen. Without a value, it shows the example.
const setRequestContentType = (original, { oas3Actions }) => (chosen) => {
  const action = original(chosen);
  oas3Actions.setRequestBodyValue({ value: "", pathMethod: chosen.pathMethod });
  return action;
};
const clearBody = () => ({ statePlugins: { oas3: { wrapActions: { setRequestContentType } } } });

// Swagger UI has a dark theme, but the page must choose it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const choose = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", choose);
choose();

SwaggerUIBundle({ url, domNode: root, deepLinking: true, tryItOutEnabled: true, plugins: [foldTags, clearBody] });
