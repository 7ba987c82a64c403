"""Words that both sides of the northbound socket use, each with what it means, once. Pure data; no imports of ours."""
