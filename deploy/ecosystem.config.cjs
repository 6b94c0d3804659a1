// PM2, from a checkout where `make run` has worked once:
//
//     PM2_KILL_SIGNAL=SIGTERM pm2 start deploy/ecosystem.config.cjs
//
// PM2's daemon reads the signal from its own environment, when it starts. Its default, SIGINT, cuts running streams;
// SIGTERM lets them finish, and kill_timeout (longer than [server] graceful_timeout) gives them the time.
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
      // gunicorn stops its workers itself.
      treekill: false,
      kill_timeout: 620_000,
      env: { PORT: "8080" },
    },
  ],
};
