import { init } from "../assets/redoc.js";

const root = document.getElementById("redoc");
const url = new URL(root.dataset.spec, location.href).href;
const spec = await (await fetch(url)).json();
// ReDoc resolves relative servers against the page, not against the document.
spec.servers = spec.servers.map((server) => ({ ...server, url: new URL(server.url, url).href }));

// Telemetry would go to the makers of ReDoc.
init(spec, { disableTelemetry: true, downloadUrls: [{ url }] }, root);
