"""What a person hands to whoever helps: one archive of facts about this host's workers, with no secret in it."""
