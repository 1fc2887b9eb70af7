const root = document.getElementById("swagger-ui");

SwaggerUIBundle({ url: root.dataset.spec, domNode: root, deepLinking: true, tryItOutEnabled: true });
