// PM2, from a checkout where `make run` has worked once:
//
//     pm2 start deploy/ecosystem.config.cjs
//
// PM2's SIGINT lets running streams finish; kill_timeout, longer than [server] graceful_timeout, gives them the time.
module.exports = {
  apps: [
    {
      name: "dragoman",
      script: ".venv/bin/dragoman",
      args: "serve --no-browser",
      cwd: `${__dirname}/..`,
      interpreter: "none",
      max_restarts: 10,
      min_uptime: 10_000,
      // gunicorn stops its workers itself.
      treekill: false,
      kill_timeout: 620_000,
      env: { PORT: "8080" },
    },
  ],
};
