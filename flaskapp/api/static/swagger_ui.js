const FOLDED = ["probes", "metrics"]; // tags that are of operators, and closed at first

const root = document.getElementById("swagger-ui");
// Absolute: the servers in the document are relative to it.
const url = new URL(root.dataset.spec, location.href).href;

// `docExpansion` opens or closes all tags. This changes the default of some; a click or a link still opens them.
const isShown = (original) => (state, path, isOpen) => original(path, isOpen && !isFolded(path));
const foldTags = () => ({ statePlugins: { layout: { wrapSelectors: { isShown } } } });

function isFolded([kind, tag]) {
  return kind === "operations-tag" && FOLDED.includes(tag);
}

// Swagger UI has dark colours, and leaves the choice to the page.
const dark = matchMedia("(prefers-color-scheme: dark)");
const choose = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", choose);
choose();

SwaggerUIBundle({ url, domNode: root, deepLinking: true, tryItOutEnabled: true, plugins: [foldTags] });
