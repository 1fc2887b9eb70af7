const root = document.getElementById("redoc");

Redoc.init(new URL(root.dataset.spec, location.href).href, {}, root);
