-- Version 3: claims.

-- The claims that the experiment's file had, a JSON array; NULL where it had none. The first run that has a
-- claim says since when it stands.
ALTER TABLE run ADD COLUMN claims TEXT;
