// PM2: `pm2 start deploy/ecosystem.config.cjs`, from a checkout where `make run` has worked once.
module.exports = {
  apps: [
    {
      name: "dragoman",
      script: ".venv/bin/dragoman",
      args: "serve",
      cwd: `${__dirname}/..`,
      interpreter: "none",
      max_restarts: 10,
      min_uptime: 10_000,
      // PM2 stops with SIGINT unless told so, and gunicorn lets streams finish on SIGTERM only.
      stop_signal: "SIGTERM",
      kill_timeout: 620_000,
      env: { PORT: "8080" },
    },
  ],
};
