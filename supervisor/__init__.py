"""This package is a generic process supervisor. It knows nothing about Kubiya."""
