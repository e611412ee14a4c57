"""What moves the bytes of a request by the rules: before routing, and at an endpoint."""
