"""Draw the sample pictures: `python -m flaskapp.api.demo`."""

from flaskapp.api.demo.samples import draw_all

draw_all()
