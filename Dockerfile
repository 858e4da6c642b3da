# Owns: an image that serves. Build: docker build -t hadal .
# Run: docker run -p 127.0.0.1:11434:11434 -v hadal:/data hadal serve smollm2-135m --host 0.0.0.0   (after `keys add NAME`)
ARG NODE=22-bookworm-slim
FROM rust:1.89-slim-bookworm AS rust

FROM node:${NODE} AS build
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --strict-allow-scripts
COPY . .
# Without the addon it would serve with the reference backend: no image rather than a slow one.
RUN npm run build && test -f dist/native/hadal.node && npm prune --omit=dev

FROM node:${NODE}
WORKDIR /app
COPY --from=build /src/package.json /src/LICENSE ./
COPY --from=build /src/node_modules node_modules
COPY --from=build /src/dist dist
# Keys, models and the configuration; XDG_CONFIG_HOME makes /data/hadal/serve.json the usual one.
ENV NODE_ENV=production HADAL_HOME=/data XDG_CONFIG_HOME=/data
RUN mkdir /data && chown node:node /data \
  && chmod +x /app/dist/cli/main.js && ln -s /app/dist/cli/main.js /usr/local/bin/hadal
USER node
VOLUME /data
EXPOSE 11434
# Ready once what is pinned is loaded; a large model takes its time.
HEALTHCHECK --interval=10s --start-period=10m \
  CMD ["node", "-e", "fetch('http://127.0.0.1:11434/readyz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Running answers get 30 s to end.
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "/app/dist/cli/main.js"]
CMD ["serve", "--host", "0.0.0.0"]
