"""What callers see: routes, one file per protocol or resource, and errors."""
