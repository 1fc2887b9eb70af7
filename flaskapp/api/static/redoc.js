const root = document.getElementById("redoc");

Redoc.init(root.dataset.spec, {}, root);
