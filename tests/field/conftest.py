"""What the reports of the field are tried on: the gateway in this process, with scripted upstreams of each dialect."""

from tests.gateway.conftest import client, data_folder, make_client, upstream  # noqa: F401
