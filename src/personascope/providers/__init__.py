"""Clients of model APIs: endpoints, profiles of providers, rate limit and retries, costs and budget."""
