package sdk
import ("testing";"context";"time";"fmt";"io"; "github.com/berth-dev/berth"; "github.com/moby/moby/client")
func TestTry(t *testing.T){
 for range 5 {
 b:=time.Now()
 e,err:=berth.Start(t.Context())
 if err!=nil{t.Fatal(err)}
 fmt.Println("start",time.Since(b)); b=time.Now()
 fmt.Println(e.Client().Ping(t.Context(), client.PingOptions{}))
 fmt.Println("ping",time.Since(b)); b=time.Now()
 s,err:=e.Stats(t.Context()); fmt.Println(s,err,time.Since(b))
 r,err:=e.Logs(t.Context(),false); x,err:=io.ReadAll(r); fmt.Println(len(x),err); r.Close()
 a,err:=berth.Attach(t.Context(), e.ID()); fmt.Println(a.Info(),err); a.Close(t.Context())
 l,err:=berth.List(t.Context()); fmt.Println(len(l),err)
 b=time.Now()
 fmt.Println(e.Close(context.Background()),time.Since(b))
 for ev := range e.Events(t.Context()) {fmt.Println(ev)}
 fmt.Println(e.Wait(t.Context()))
 }
}
