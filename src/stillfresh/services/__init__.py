"""What an app is made of: services by type, injection, hooks, and which app is current."""
