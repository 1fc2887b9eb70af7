const root = document.getElementById("swagger-ui");
// Absolute: the servers in the document are relative to it.
const url = new URL(root.dataset.spec, location.href).href;

SwaggerUIBundle({ url, domNode: root, deepLinking: true, tryItOutEnabled: true });
