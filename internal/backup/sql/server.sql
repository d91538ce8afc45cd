-- What a dump needs of the server that it is restored on.
SELECT 'role', rolname FROM pg_roles
UNION ALL
SELECT 'extension', name FROM pg_available_extensions
ORDER BY 1, 2;
