FROM python:3.11-slim

# An index of CPU wheels of torch spares gigabytes of CUDA libraries: --build-arg TORCH_INDEX=<its URL>
ARG TORCH_INDEX

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt

# Docker lets any user bind port 80, podman and Kubernetes do not. `gunicorn` gets a copy of the interpreter that may;
# where all capabilities are dropped, run `python -m gunicorn --bind 0.0.0.0:8000 wsgi:app` instead.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libcap2-bin \
    && rm -rf /var/lib/apt/lists/* \
    && python=$(readlink -f "$(command -v python)") \
    && cp "$python" "$python-low-ports" \
    && setcap cap_net_bind_service=+ep "$python-low-ports" \
    && sed -i "1s|.*|#!$python-low-ports|" "$(command -v gunicorn)"

# The one user can write to /data alone: the database, and what comes from the hub.
RUN useradd --uid 10001 --no-create-home --home-dir /data flaskapp && install -d -o flaskapp -m 700 /data
ENV FLASKAPP_DATABASE_URL=sqlite:////data/flaskapp.db HF_HOME=/data/huggingface
VOLUME /data

COPY flaskapp flaskapp
COPY wsgi.py gunicorn.conf.py ./

USER flaskapp
EXPOSE 80
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1/livez', timeout=4)"]
CMD ["gunicorn", "--bind", "0.0.0.0:80", "wsgi:app"]
