FROM python:3.11-slim

# To save gigabytes of CUDA libraries, use an index with CPU wheels of torch: --build-arg TORCH_INDEX=<URL>
ARG TORCH_INDEX

LABEL org.opencontainers.image.title="flaskapp" \
      org.opencontainers.image.description="Captions for images behind an HTTP API" \
      org.opencontainers.image.licenses="MIT"

ENV PYTHONUNBUFFERED=1

# Remove headers, tests and byte code, to save space. The byte code that a caption needs is compiled below.
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-compile ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt \
    && cd "$(python -c 'import torch; print(torch.__path__[0])')/.." \
    && rm -rf torch/include \
    && find . -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -rf {} +

# For deploy/entrypoint.sh. The capability is permitted, not effective, so that the program also runs in containers
# without it.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libcap2-bin \
    && cp "$(command -v setpriv)" /usr/local/bin/setpriv-low-ports \
    && setcap cap_net_bind_service=p /usr/local/bin/setpriv-low-ports \
    && apt-get purge -y --auto-remove libcap2-bin \
    && rm -rf /var/lib/apt/lists/*

COPY flaskapp flaskapp
COPY wsgi.py gunicorn.conf.py ./
COPY deploy/entrypoint.sh deploy/healthcheck.py /usr/local/bin/
RUN python -m flaskapp.captioner.embedded.evaluate --scenes 1 \
    && python -c "import wsgi, flaskapp.jobs.embedded, flaskapp.serving.worker, flaskapp.serving.processes, gunicorn.app.wsgiapp"
ENV PYTHONDONTWRITEBYTECODE=1

# For the database and the files from the hub. Any user of group 0 can write to it.
RUN install -d -g 0 -m 770 /data
ENV HOME=/data HF_HOME=/data/huggingface FLASKAPP_DATABASE_URL=sqlite:////data/flaskapp.db
VOLUME /data
USER 10001:0

EXPOSE 80
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m CMD ["python", "/usr/local/bin/healthcheck.py"]
ENTRYPOINT ["entrypoint.sh"]
CMD ["gunicorn", "--bind", "0.0.0.0:80", "wsgi:app"]
