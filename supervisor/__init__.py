"""A generic process supervisor. It knows nothing of Kubiya."""
