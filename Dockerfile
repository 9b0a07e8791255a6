# Greenroom's images: `make image IMAGE=registry.example.com/greenroom:0.1.0`. See docs/install.md.
#
# Two targets, of the same files. They differ in what runs when nobody says: `operator`, the last and so the default, the
# operator; `cleanup` the clean-up job, for a CronJob that names no command (docs/cleanup.md).
#
# BASE may be any image that has Python 3.11 or newer as `python3`, with its venv module.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/greenroom
COPY requirements-operator.txt .
# The secrets are a company's pip settings (its package index) and certificates. Neither stays in the image.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    tools/bin/pip --python /opt/greenroom/bin/python3 --disable-pip-version-check --no-cache-dir \
      install --no-deps --require-hashes --requirement requirements-operator.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/bin/pip --python /opt/greenroom/bin/python3 --disable-pip-version-check --no-cache-dir \
      install --no-deps --no-index --no-build-isolation . \
 && tools/bin/pip --python /opt/greenroom/bin/python3 uninstall --yes flit_core

FROM ${BASE} AS files
# Nothing is installed here any more: what could do that goes, where the base has it.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/lib/python3*/ensurepip \
      /usr/local/lib/python3*/ensurepip /usr/share/python-wheels
COPY --from=build /opt/greenroom /opt/greenroom
ENV PATH=/opt/greenroom/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number, so that the kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["greenroom"]
ARG VERSION= REVISION=
LABEL org.opencontainers.image.title="Greenroom" \
      org.opencontainers.image.description="Every pull request gets a running environment of its own." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM files AS cleanup
CMD ["cleanup"]

FROM files AS operator
EXPOSE 3000 8080 8081 9443 18000
CMD ["serve"]
