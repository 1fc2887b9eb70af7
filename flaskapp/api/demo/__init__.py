"""The demo page at `/demo`: its styles, scripts and sample pictures."""

from flask import Blueprint, Response, current_app, make_response, render_template, request

from flaskapp.api.demo import controls
from flaskapp.api.demo.samples import SAMPLES
from flaskapp.api.fields import JobFiles
from flaskapp.captioner import captioner
from flaskapp.captioner.generation import MAX_PROMPT
from flaskapp.images import FORMATS, MEDIA_TYPES

# Only this server's scripts, styles and answers; also pictures in the browser's memory (blob:).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blp = Blueprint("demo", __name__, template_folder="templates", static_folder="static", static_url_path="/demo/static")


@blp.get("/demo")
def page() -> Response:
    limits = current_app.config
    shown = {"model": captioner.name, "limits": limits, "samples": SAMPLES, "controls": controls}
    shown["formats"] = FORMATS
    shown["media_types"] = ",".join(f"image/{name}" for name in MEDIA_TYPES)
    shown |= {"warning": captioner.note, "takes_prompt": captioner.takes_prompt, "max_prompt": MAX_PROMPT}
    shown["defaults"] = captioner.defaults.shown() if captioner.defaults else {}
    shown["max_job_images"] = JobFiles.keywords(limits)["maxItems"]
    answer = make_response(render_template("demo/index.html", **shown))
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Cache-Control"] = "no-cache"  # the browser revalidates its copy: it shows a new release immediately
    answer.add_etag()
    answer.make_conditional(request)
    return answer
