import flaskapp.captioner  # noqa: F401  (before torch: it limits the spins of OpenMP, as in a server)
