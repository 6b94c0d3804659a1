"""The connections to upstreams: how they are opened, kept and waited on."""
