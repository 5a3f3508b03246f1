// What the headers of this room need of postgres.h, without its macros. pg.hpp may be included before or after.
#pragma once

using Oid = unsigned int;       // as in postgres_ext.h; a repeated alias to the same type is allowed
struct FunctionCallInfoBaseData;
