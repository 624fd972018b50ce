"""A generic process supervisor. It knows nothing about Kubiya."""
