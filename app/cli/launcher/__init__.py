"""Here agents are started on the gateway: each is told of it for its one run, and no file of the user is touched."""
