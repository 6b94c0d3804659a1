"""What a reply of an upstream becomes on its way to the client."""
